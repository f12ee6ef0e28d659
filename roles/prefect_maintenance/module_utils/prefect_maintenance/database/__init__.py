"""The way to the database: sessions, locks, clocks, rights."""
