"""The Spark engine: the only place that imports pyspark. DataFrame API only, so it runs under Spark Connect too."""
