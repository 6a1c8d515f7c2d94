"""The loop, written once, and what it keeps: checkpoints, logs, averages, a guard."""
