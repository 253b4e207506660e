// Gives the Neo4j Browser scircuit's style, saved queries and settings before its own scripts read them.
// Runs once for each content: what the user changed, renamed or deleted since stays as the user left it.
(function () {
  "use strict";
  var ours = "__SEED__";
  var MARK = "scircuit.seed";
  function read(key) {
    try {
      return JSON.parse(window.localStorage.getItem(key));
    } catch (error) {
      return null;
    }
  }
  function write(key, value) {
    window.localStorage.setItem(key, JSON.stringify(value));
  }
  function same(a, b) {
    if (!a || !b || typeof a !== "object" || typeof b !== "object") return a === b;
    var keys = Object.keys(a);
    return keys.length === Object.keys(b).length && keys.every(function (key) { return same(a[key], b[key]); });
  }
  // Items with an id, in a list: new ones are added, untouched ones follow the new content, withdrawn ones go.
  function lists(present, before, now) {
    var wanted = {}, known = {}, result = [];
    now.forEach(function (item) { wanted[item.id] = item; });
    before.forEach(function (item) { known[item.id] = item; });
    present.forEach(function (item) {
      var untouched = known[item.id] && same(known[item.id], item);
      if (wanted[item.id]) result.push(untouched ? wanted[item.id] : item);
      else if (!untouched) result.push(item);
    });
    now.forEach(function (item) {
      var there = present.some(function (other) { return other.id === item.id; });
      if (!there && !known[item.id]) result.push(item);
    });
    return result;
  }
  function rules(present, before, now) {
    var result = {};
    Object.keys(now).forEach(function (selector) {
      var mine = present[selector], first = !before;
      result[selector] = !mine || first || same(mine, before[selector]) ? now[selector] : mine;
    });
    Object.keys(present).forEach(function (selector) {
      var withdrawn = before && same(present[selector], before[selector]);
      if (!result[selector] && !withdrawn) result[selector] = present[selector];
    });
    return result;
  }
  try {
    var last = read(MARK);
    if (last && last.hash === ours.hash) return;
    var before = last || { grass: null, documents: [], folders: [] };
    write("neo4j.grass", rules(read("neo4j.grass") || {}, before.grass, ours.grass));
    write("neo4j.documents", lists(read("neo4j.documents") || [], before.documents, ours.documents));
    write("neo4j.folders", lists(read("neo4j.folders") || [], before.folders, ours.folders));
    if (!read("neo4j.settings")) write("neo4j.settings", ours.settings);
    write(MARK, ours);
  } catch (error) {
    window.console.warn("scircuit: the Browser's storage refused style and saved queries", error);
  }
})();
