"""What everything shares: names of areas, codes of arrays, the files that stages hand each other. It imports nothing of ours."""
