"""A run as a whole: processes started, watched, started again, and their accounts."""
