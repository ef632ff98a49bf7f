"""What a competent user would write instead: scripts that the bench runs against the same simulator."""
