// What htmx does not do by itself. The pages work without it, and without htmx.
(function () {
  "use strict";
  var lost = null;
  // A banner while nothing comes from the dashboard itself.
  function tell(isLost) {
    var banner = document.getElementById("lost");
    if (banner) banner.hidden = !isLost;
  }
  document.addEventListener("htmx:sseError", function () {
    if (lost === null) lost = setTimeout(function () { tell(true); }, 1200);
  });
  document.addEventListener("htmx:sseOpen", function () {
    clearTimeout(lost);
    lost = null;
    tell(false);
  });
  // "/" goes to the field for an id.
  document.addEventListener("keydown", function (event) {
    var field = document.getElementById("find");
    var tag = event.target.tagName;
    if (event.key === "/" && field && !/^(INPUT|TEXTAREA|SELECT)$/.test(tag)) {
      event.preventDefault();
      field.focus();
    }
  });
  // A folded row that was opened by the keyboard: the keyboard goes on at the first row in its place.
  var above = null;
  document.addEventListener("htmx:beforeSwap", function (event) {
    var row = event.detail.target;
    above = row && row.matches("tr.foldrow") && row.contains(document.activeElement) ? row.previousElementSibling : null;
  });
  document.addEventListener("htmx:afterSwap", function () {
    var link = above && above.nextElementSibling && above.nextElementSibling.querySelector("a");
    above = null;
    if (link) link.focus();
  });
  // One that cannot be opened now says so.
  ["htmx:responseError", "htmx:sendError"].forEach(function (name) {
    document.addEventListener(name, function (event) {
      var row = event.detail.target;
      if (row && row.matches("tr.foldrow")) row.querySelector("td").textContent = "These could not be read just now: try again.";
    });
  });
  // Boxes of a list: all at once, and how many are chosen.
  document.addEventListener("change", function (event) {
    var form = event.target.closest && event.target.closest("form.bulk");
    if (!form) return;
    if (event.target.matches("input.all")) {
      form.querySelectorAll("input[name=id]").forEach(function (box) { box.checked = event.target.checked; });
    }
    count(form);
  });
  function count(form) {
    var count = form.querySelectorAll("input[name=id]:checked").length;
    var text = form.querySelector(".chosen");
    if (text) text.textContent = count ? count + " chosen" : "none chosen";
    form.querySelectorAll("button.for-chosen").forEach(function (button) {
      button.disabled = count === 0;
    });
  }
  document.addEventListener("DOMContentLoaded", function () {
    document.querySelectorAll("form.bulk").forEach(count);
  });
  document.addEventListener("htmx:oobAfterSwap", function (event) {
    // A row that is drawn anew keeps its box as it was.
    var box = event.detail.elt && event.detail.elt.querySelector && event.detail.elt.querySelector("input[name=id]");
    if (box && kept[box.value]) box.checked = true;
  });
  var kept = {};
  document.addEventListener("htmx:sseBeforeMessage", function () {
    kept = {};
    document.querySelectorAll("input[name=id]:checked").forEach(function (box) {
      kept[box.value] = true;
    });
  });
})();
