"""Commands about network volumes of RunPod, which are filled from here.

What a pod or worker does with a volume that it has mounted belongs to the run side.
"""
