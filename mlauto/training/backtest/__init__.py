"""A history played through the live loop's decisions."""
