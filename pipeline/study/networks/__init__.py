"""Networks to study, and how they are loaded."""
