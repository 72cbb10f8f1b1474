"""Reports a build to people and to programs: events, progress, stalls and the summary."""
