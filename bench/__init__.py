"""Speed, measured against the script that a careful researcher would write in an afternoon."""
