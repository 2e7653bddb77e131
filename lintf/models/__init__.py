"""What is trained: pure functions of their parameters."""
