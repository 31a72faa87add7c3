"""What the figures mean: findings, and their causes."""
