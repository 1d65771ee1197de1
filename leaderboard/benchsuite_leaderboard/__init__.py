"""The static leaderboard."""
