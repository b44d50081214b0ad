"""A viewer is a subscriber that draws: on a page for the browser, or a picture. viser is imported when asked for."""
