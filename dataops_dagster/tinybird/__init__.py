"""Tinybird: deploys data projects into workspaces there, by the real tb and a small client."""
