"""From a fitted scikit-learn pipeline to a plan: plain data that answers the same without scikit-learn, or a reason."""
