"""Reports a build to people and to programs: listeners, events, progress, stalls and the summary."""
