"""A viewer is a subscriber that draws; Open3D is imported when a window or picture is asked for."""
