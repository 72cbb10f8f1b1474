"""The installed package: wheel and sdist, an environment with the base install alone, and what a release needs."""
