/** Arrow keys among the maps of the diagram: each column is one stop of the Tab key. */

const KEY_STEPS = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };

/** Move the focus from a map to its nearest neighbour in the direction of the pressed arrow key. */
export function moveBetweenMaps(event) {
  const step = KEY_STEPS[event.key];
  const current = event.target.closest(".map");
  if (!step || !current || event.altKey || event.ctrlKey || event.metaKey) return;
  const next = nearest(current, [...event.currentTarget.querySelectorAll(".map")], step);
  if (!next) return;
  event.preventDefault();
  for (const map of next.parentElement.querySelectorAll(".map")) map.tabIndex = map === next ? 0 : -1;
  next.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** Find the map that lies in a direction: as far as possible straight ahead, and near. */
function nearest(current, maps, [across, down]) {
  const centre = (each) => {
    const box = each.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  const [x, y] = centre(current);
  let [found, least] = [null, Infinity];
  for (const map of maps) {
    const [dx, dy] = [centre(map)[0] - x, centre(map)[1] - y];
    const ahead = dx * across + dy * down;
    const aside = Math.abs(dx * down) + Math.abs(dy * across);
    if (ahead > 1 && ahead + 3 * aside < least) [found, least] = [map, ahead + 3 * aside];
  }
  return found;
}
