// The map of the image. It is drawn from the tables of the page, which say the same in words: where this script does
// not run, nothing is lost but the picture. No text becomes markup: everything is set as text.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const map = $("map");
  const crumbs = $("crumbs");
  const detail = $("detail");
  // Nothing smaller can be hit, with a finger or with a mouse: it is drawn together with others, and can be looked into.
  const leastArea = () => (matchMedia("(pointer: coarse)").matches ? 27 * 27 : 15 * 15);
  const GAP = 2;
  const HEADER = 24;
  const PAD = 4;
  // How many levels are drawn inside of each other.
  const mostDepth = () => (map.clientWidth < 640 ? 1 : 2);
  // The name of the node that holds what is too small, in addresses.
  const REST = "~";

  const make = (name, group, value = 0) => ({ name, group, value, children: [], parent: null });
  const adopt = (parent, child) => {
    child.parent = parent;
    parent.children.push(child);
    return child;
  };

  // Image → groups → parts → files.
  const root = make(map.dataset.name, "");
  for (const part of document.querySelectorAll("details.part")) {
    const { group, title, name } = part.dataset;
    const above = root.children.find((child) => child.group === group) || adopt(root, make(title, group));
    const node = adopt(above, make(name, group));
    for (const row of part.querySelectorAll("tbody tr")) {
      const file = adopt(node, make(row.querySelector(".path").textContent, group, Number(row.querySelector("data.share").value)));
      file.why = row.querySelector(".why").textContent;
      file.size = row.querySelector("data.now").textContent;
    }
  }
  const sum = (node) => {
    if (node.children.length) {
      node.children = node.children.filter((child) => sum(child) > 0).sort((a, b) => b.value - a.value);
      node.value = node.children.reduce((total, child) => total + child.value, 0);
    }
    return node.value;
  };
  sum(root);
  // A group of one part is that part.
  root.children = root.children.map((group) => {
    if (group.children.length !== 1 || !group.children[0].children.length) return group;
    group.children[0].parent = root;
    return group.children[0];
  });
  // Without an image there are no shares, and there is nothing to draw.
  if (!(root.value > 0)) return;
  $("map-room").hidden = false;

  const human = (bytes) => {
    const units = [[1e9, "GB"], [1e6, "MB"], [1e3, "kB"]];
    const [factor, unit] = units.find(([factor]) => bytes >= factor * 0.9995) || [1, "B"];
    return factor === 1 ? `${bytes} B` : `${(bytes / factor).toPrecision(3)} ${unit}`;
  };
  const percent = (value) => {
    const share = (value * 100) / root.value;
    return share > 0 && share < 0.05 ? "less than 0.1 %" : `${share.toFixed(1)} %`;
  };
  const short = (node) =>
    node.why === undefined ? node.name : node.name.split("/").pop().replace(/\.beam$/, "").replace(/^Elixir\./, "") || node.name;
  const isLeaf = (node) => node.children.length === 0;

  // The address of a node: the names on the way to it.
  const addressOf = (node) => {
    const names = [];
    for (let at = node; at.parent; at = at.parent) names.unshift(encodeURIComponent(at.isRest ? REST : at.name));
    return `#map=${names.join("/")}`;
  };
  const nodeOf = (address) => {
    let node = root;
    for (const segment of address.slice("#map=".length).split("/").filter((segment) => segment)) {
      let name;
      try {
        name = decodeURIComponent(segment);
      } catch {
        break;
      }
      const { rest } = shown(node, area());
      const next = name === REST ? rest : node.children.find((child) => child.name === name);
      if (!next) break;
      node = next;
    }
    return node;
  };

  const area = () => map.clientWidth * map.clientHeight;
  // The children that are large enough on so many square pixels, and a node for those that are not.
  const shown = (node, pixels) => {
    const least = (leastArea() * node.value) / pixels;
    const all = node.children;
    let count = all.findIndex((child) => child.value < least);
    if (count < 0) return { tiles: all, rest: null };
    // All are too small alone: as many as there is room for.
    if (count === 0) count = Math.min(all.length, Math.max(1, Math.floor(pixels / leastArea() / 2)));
    // What is drawn together is at least two, and large enough itself.
    let together = all.slice(count).reduce((total, child) => total + child.value, 0);
    while (count > 1 && count < all.length && (count === all.length - 1 || together < least)) {
      count -= 1;
      together += all[count].value;
    }
    if (count >= all.length - 1) return { tiles: all, rest: null };
    const rest = make(`${all.length - count} smaller`, node.group, together);
    rest.isRest = true;
    rest.parent = node;
    rest.children = all.slice(count);
    return { tiles: [...all.slice(0, count), rest], rest };
  };

  // "Squarified treemaps" (Bruls, Huizing, van Wijk, 2000): rows along the shorter side, each filled as long as its
  // tiles become less oblong. The nodes come in descending order, but for what is too small, which is the last.
  const squarify = (nodes, box) => {
    let left = nodes.reduce((total, node) => total + node.value, 0);
    let { x, y, w, h } = box;
    const placed = [];
    let start = 0;
    while (start < nodes.length && left > 0) {
      const side = Math.min(w, h);
      const scale = (w * h) / left;
      let end = start;
      let row = 0;
      let [least, most] = [Infinity, 0];
      let worst = Infinity;
      while (end < nodes.length) {
        const size = nodes[end].value * scale;
        const next = row + size;
        [least, most] = [Math.min(least, size), Math.max(most, size)];
        const worse = Math.max((side * side * most) / (next * next), (next * next) / (side * side * least));
        if (worse > worst) break;
        worst = worse;
        row = next;
        end += 1;
      }
      const thick = end === nodes.length ? (w >= h ? w : h) : row / side;
      let along = 0;
      for (const node of nodes.slice(start, end)) {
        const length = (node.value * scale * side) / row;
        placed.push({
          node,
          ...(w >= h ? { x, y: y + along, w: thick, h: length } : { x: x + along, y, w: length, h: thick }),
        });
        along += length;
        left -= node.value;
      }
      if (w >= h) {
        x += thick;
        w -= thick;
      } else {
        y += thick;
        h -= thick;
      }
      start = end;
    }
    return placed;
  };

  const tile = ({ node, x, y, w, h }, kind) => {
    const element = document.createElement("a");
    element.className = `tile g-${node.group} ${kind}`;
    element.href = addressOf(node);
    element.tabIndex = -1;
    // The tooltip; what is read aloud is the text, also where there is no room to see it.
    element.title = `${node.name}, ${human(node.value)}, ${percent(node.value)}`;
    const style = element.style;
    style.left = `${x}px`;
    style.top = `${y}px`;
    style.width = `${Math.max(0, w - GAP)}px`;
    style.height = `${Math.max(0, h - GAP)}px`;
    if (w < 36 || h < 22) element.classList.add("bare");
    else if (kind.endsWith("frame") ? w < 130 : h < 42 || w < 66) element.classList.add("one");
    if (node.isRest) element.classList.add("rest");
    for (const [part, text] of [["name", short(node)], ["size", human(node.value)], ["unseen", percent(node.value)]]) {
      const span = document.createElement("span");
      span.className = part;
      span.textContent = text;
      element.append(span, " ");
    }
    return element;
  };

  let selected = root;
  // What is drawn when `node` is selected: a file is shown where it can be seen.
  const viewOf = (node) => {
    if (!isLeaf(node)) return node;
    let view = node.parent;
    for (;;) {
      const { rest } = shown(view, area());
      if (!rest || !rest.children.includes(node)) return view;
      view = rest;
    }
  };

  const draw = () => {
    const view = viewOf(selected);
    const tiles = [];
    const fill = (node, box, depth) => {
      for (const placed of squarify(shown(node, box.w * box.h).tiles, box)) {
        const { x, y, w, h } = placed;
        // Nothing of it would be seen.
        if (w <= GAP || h <= GAP) continue;
        const framed = depth < mostDepth() && !isLeaf(placed.node) && w >= 84 && h >= 72;
        tiles.push(tile(placed, `d${depth}${framed ? " frame" : ""}`));
        if (framed) fill(placed.node, { x: x + PAD, y: y + HEADER, w: w - 2 * PAD + GAP - 2, h: h - HEADER - PAD }, depth + 1);
      }
    };
    fill(view, { x: 0, y: 0, w: map.clientWidth + GAP, h: map.clientHeight + GAP }, 0);
    map.replaceChildren(...tiles);
    const current = tiles.find((element) => element.hash === addressOf(selected)) || tiles[0];
    if (current) current.tabIndex = 0;
    if (isLeaf(selected) && current) current.setAttribute("aria-current", "true");
    drawCrumbs();
    describe();
  };

  const drawCrumbs = () => {
    const way = [];
    for (let node = selected; node; node = node.parent) way.unshift(node);
    crumbs.replaceChildren(
      ...way.map((node) => {
        const item = document.createElement("li");
        const inside = document.createElement(node === selected ? "span" : "a");
        inside.textContent = short(node);
        if (node === selected) inside.setAttribute("aria-current", "page");
        else inside.href = addressOf(node);
        item.append(inside);
        return item;
      }),
    );
  };

  const describe = () => {
    const lines = [`${selected.name}: ${human(selected.value)} of the image, ${percent(selected.value)}`];
    if (selected.why !== undefined) lines.push(`${selected.size} before compression. ${selected.why}`);
    else if (selected === root) lines.push("Choose a part to look into it.");
    else lines.push(`${selected.children.length} inside.`);
    detail.replaceChildren(
      ...lines.map((text) => {
        const line = document.createElement("p");
        line.textContent = text;
        return line;
      }),
    );
  };

  const follow = () => {
    const address = location.hash;
    if (address !== "" && !address.startsWith("#map=")) {
      const target = $(decodeURIComponent(address.slice(1)));
      if (target && target.tagName === "DETAILS") target.open = true;
      return;
    }
    const inside = map.contains(document.activeElement) || document.activeElement === document.body;
    const moved = address.startsWith("#map=") || selected !== root;
    map.classList.toggle("moves", moved);
    selected = nodeOf(address || "#map=");
    draw();
    if (moved && inside) map.querySelector('[tabindex="0"]').focus({ preventScroll: true });
  };

  // Arrow keys go to the nearest tile in their direction, Escape goes back.
  const directions = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const middle = (element) => {
    const box = element.getBoundingClientRect();
    return [box.left + box.width / 2, element.classList.contains("frame") ? box.top + 12 : box.top + box.height / 2];
  };
  map.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && selected.parent) {
      event.preventDefault();
      location.hash = addressOf(isLeaf(selected) && selected.parent.parent ? selected.parent.parent : selected.parent);
      return;
    }
    const direction = directions[event.key];
    const from = event.target.closest(".tile");
    if (!direction || !from || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [x, y] = middle(from);
    let best = null;
    let nearest = Infinity;
    for (const element of map.children) {
      const [dx, dy] = middle(element).map((value, axis) => value - [x, y][axis]);
      const ahead = dx * direction[0] + dy * direction[1];
      const aside = Math.abs(dx * direction[1]) + Math.abs(dy * direction[0]);
      const distance = ahead + 3 * aside;
      if (element !== from && ahead > 1 && distance < nearest) [best, nearest] = [element, distance];
    }
    if (best) {
      from.tabIndex = -1;
      best.tabIndex = 0;
      best.focus();
    }
  });
  window.addEventListener("hashchange", follow);
  let drawn = "";
  new ResizeObserver(() => {
    const size = `${map.clientWidth}x${map.clientHeight}`;
    if (size === drawn) return;
    drawn = size;
    map.classList.remove("moves");
    selected = nodeOf(location.hash.startsWith("#map=") ? location.hash : "#map=");
    draw();
  }).observe(map);
  follow();
})();
