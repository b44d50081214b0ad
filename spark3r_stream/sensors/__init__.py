"""What other sensors say of the camera's motion: gyroscopes, odometers, known poses."""
