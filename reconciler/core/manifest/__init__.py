"""From a manifest's text to the desired state: source -> reading -> resolve, with every problem's position."""
