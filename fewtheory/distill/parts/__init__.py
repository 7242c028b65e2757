"""What several methods are made of: students, score differences, levels, targets, critics."""
