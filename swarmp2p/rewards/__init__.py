"""Who earns what and why, and who contributed what: pure twins of the treasury's rules (docs/rewards.md)."""
