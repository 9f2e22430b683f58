/** The element of this id, which index.html has. */
export function element<T extends HTMLElement>(id: string, type: abstract new (...args: never[]) => T): T {
	const found = document.getElementById(id);
	if (!(found instanceof type)) throw new Error(`index.html has no ${type.name} #${id}`);
	return found;
}
