"""Publisher and subscriber over ZeroMQ, the snapshot for late joiners, keys."""
