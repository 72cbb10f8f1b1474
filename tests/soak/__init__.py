"""Random jobs, sources, edits, growth and faults in one story, which a seed replays."""
