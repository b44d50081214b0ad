"""Depth of a keyframe from several views: a sweep around the network's depth, smoothed, weighed and filled."""
