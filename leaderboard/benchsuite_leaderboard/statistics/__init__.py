"""The leaderboard's statistics: plain numbers in, plain numbers out; nothing here knows of records or pages."""
