"""How long a unit of the map is in metres, and which way is up: from tags, floors, distances and sensors."""
