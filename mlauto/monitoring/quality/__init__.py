"""The live version's quality: losses proven at any look, by segment, and estimated where no labels are."""
