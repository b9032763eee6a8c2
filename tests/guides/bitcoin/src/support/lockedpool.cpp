// Stands in a place that the hook takes out of the build.
#error the tree's code for locked memory is compiled
