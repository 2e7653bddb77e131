"""Training, what it leaves behind, and the store of finished runs."""
