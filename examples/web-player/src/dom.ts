/** The element of this id, which the page has. */
export function element<T extends HTMLElement>(id: string, type: abstract new (...args: never[]) => T): T {
	const found = document.getElementById(id);
	if (!(found instanceof type)) throw new Error(`the page has no ${type.name} #${id}`);
	return found;
}
