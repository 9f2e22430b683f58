/** Which broadcast is selected: `#name`, or `?broadcast=name` where there is no fragment. */
import { Signals } from "@moq/watch";

function fromLocation(): string | undefined {
	const fragment = location.hash.slice(1);
	let name = fragment;
	try {
		name = decodeURIComponent(fragment);
	} catch {
		// A stray % stands for itself.
	}
	return name || new URLSearchParams(location.search).get("broadcast") || undefined;
}

export const selected = new Signals.Signal(fromLocation());

window.addEventListener("hashchange", () => selected.set(fromLocation()));

export const link = (name: string) => `#${encodeURIComponent(name).replaceAll("%2F", "/")}`;

/** Selects without leaving a step in the browser's history. */
export function preselect(name: string): void {
	history.replaceState(null, "", link(name));
	selected.set(name);
}
