/** The list of live broadcasts: as announced, while they are announced. */
import { type Net, Signals } from "@moq/watch";
import type MoqWatch from "@moq/watch/element";
import { element } from "./dom";
import { link } from "./selection";

type Announced = Net.Announce.Consumer;

/** Names of the live broadcasts, sorted; follows the relay across reconnects. */
export function liveBroadcasts(connection: MoqWatch["connection"]): Signals.Getter<string[]> {
	const names = new Signals.Signal<string[]>([]);
	void follow(connection.announced(), names);
	return names;
}

async function follow(announced: Announced, names: Signals.Signal<string[]>): Promise<void> {
	const live = new Set<string>();
	for (let event = await announced.next(); event; event = await announced.next()) {
		// A name with a segment that begins with a dot is hidden; relays that speak moq-transport may tell it all the same.
		if (event.path.split("/").some((segment) => segment.startsWith("."))) continue;
		if (event.active) live.add(event.path);
		else live.delete(event.path);
		names.set([...live].sort((a, b) => a.localeCompare(b, undefined, { numeric: true })));
	}
}

/** Shows the names as links; the selected one is marked. Items that stay keep the keyboard's focus. */
export function showList(names: string[], selected: string | undefined): void {
	const list = element("broadcasts", HTMLUListElement);
	const items = new Map([...list.children].map((item) => [(item as HTMLElement).dataset.name, item]));
	const wanted = names.map((name) => items.get(name) ?? newItem(name));
	if (wanted.length !== list.children.length || wanted.some((item, i) => item !== list.children[i])) {
		const focused = document.activeElement;
		list.replaceChildren(...wanted);
		if (focused instanceof HTMLElement && list.contains(focused)) focused.focus();
	}
	for (const anchor of list.querySelectorAll("a")) {
		if (anchor.dataset.name === selected) anchor.setAttribute("aria-current", "true");
		else anchor.removeAttribute("aria-current");
	}
	element("count", HTMLElement).textContent = names.length ? String(names.length) : "";
	element("nothing", HTMLElement).hidden = names.length > 0;
}

function newItem(name: string): HTMLLIElement {
	const item = document.createElement("li");
	const anchor = document.createElement("a");
	item.dataset.name = anchor.dataset.name = name;
	anchor.href = link(name);
	anchor.textContent = name;
	item.append(anchor);
	return item;
}
