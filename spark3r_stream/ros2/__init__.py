"""The stream in ROS 2's messages, frames and axes: for bags, and for the bridge to a running ROS 2."""
