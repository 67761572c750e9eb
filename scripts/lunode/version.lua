-- The version of this lunode, and nothing else. CMakeLists.txt says the same (a spec compares them).

return "0.1.0"
