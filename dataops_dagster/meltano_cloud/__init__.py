"""What Meltano Cloud, formerly Matatika, says of its workspaces, and does when it is asked over http."""
