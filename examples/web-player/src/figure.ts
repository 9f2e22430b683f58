/** How one figure is named, measured and shown. */

const FAMILIES: [RegExp, string][] = [
	[/^avc[13]/, "H.264"],
	[/^h(vc1|ev1)/, "H.265"],
	[/^vp8/, "VP8"],
	[/^vp09/, "VP9"],
	[/^av01/, "AV1"],
	[/^opus/, "Opus"],
	[/^mp4a/, "AAC"],
	[/^mp3/, "MP3"],
	[/^flac/, "FLAC"],
];

/** `H.264` for `avc1.64001f`. */
export const codecName = (codec: string) => FAMILIES.find(([prefix]) => prefix.test(codec))?.[1] ?? codec;

const LAYOUTS: Record<number, string> = { 1: "mono", 2: "stereo", 6: "5.1", 8: "7.1" };

export const channels = (count: number) => LAYOUTS[count] ?? `${count} channels`;

export function bitrate(bytesPerSecond: number | undefined): string | undefined {
	if (bytesPerSecond === undefined) return undefined;
	const bits = bytesPerSecond * 8;
	return bits >= 1e6 ? `${(bits / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bits / 1e3)} kbit/s`;
}

/** A figure, and what is to be known about it; without the figure neither. */
export function row(name: string, figure: string | undefined, ...details: (string | undefined)[]): HTMLElement {
	const row = document.createElement("div");
	const term = document.createElement("dt");
	const value = document.createElement("dd");
	row.dataset.figure = term.textContent = name;
	value.textContent = figure ?? "–";
	row.append(term, value);
	const detail = details.filter(Boolean).join(", ");
	if (figure && detail) {
		const more = document.createElement("dd");
		more.className = "detail";
		more.textContent = detail;
		row.append(more);
	}
	return row;
}
