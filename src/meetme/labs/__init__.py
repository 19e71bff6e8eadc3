"""The Kathara labs that come with the package: data, shared by the demo, the docs and the live tests."""
