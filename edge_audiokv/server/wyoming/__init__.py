"""The Wyoming door: the protocol of Home Assistant's voice services."""
