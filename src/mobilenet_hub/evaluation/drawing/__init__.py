"""What the report shows: photos with heat maps, and charts."""
