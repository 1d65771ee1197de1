"""The leaderboard's statistics: numbers in, numbers out; nothing here knows of records or pages."""
