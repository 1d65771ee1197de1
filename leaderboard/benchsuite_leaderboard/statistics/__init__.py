"""The leaderboard's statistics, computed from plain numbers, without records or pages."""
