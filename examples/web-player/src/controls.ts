/** Sound, buffer, rendition and full screen. */
import type { Signals } from "@moq/watch";
import type MoqWatch from "@moq/watch/element";
import { element } from "./dom";

const ICONS = {
	loud: "M4 9v6h4l5 4V5L8 9zM16 8.5a5 5 0 0 1 0 7M18.5 6a8.5 8.5 0 0 1 0 12",
	mute: "M4 9v6h4l5 4V5L8 9zM16.5 9.5l5 5M21.5 9.5l-5 5",
	enter: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5",
	leave: "M9 4v5H4M20 9h-5V4M15 20v-5h5M4 15h5v5",
};

function face(button: HTMLButtonElement, icon: keyof typeof ICONS, label: string): void {
	const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
	const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
	svg.setAttribute("viewBox", "0 0 24 24");
	svg.setAttribute("aria-hidden", "true");
	path.setAttribute("d", ICONS[icon]);
	svg.append(path);
	button.replaceChildren(svg);
	button.ariaLabel = button.title = label;
}

export function controls(scope: Signals.Effect, watch: MoqWatch): void {
	sound(scope, watch);
	gesture(scope, watch);
	fullscreen();
	buffer(watch);
	rendition(scope, watch);
	keys(watch);
}

const stored = Number.parseFloat(remembered("volume") ?? "");

function remembered(key: string): string | null {
	try {
		return localStorage.getItem(`web-player.${key}`);
	} catch {
		// Storage may be switched off.
		return null;
	}
}

function remember(key: string, value: string): void {
	try {
		localStorage.setItem(`web-player.${key}`, value);
	} catch {
		// As above.
	}
}

function sound(scope: Signals.Effect, watch: MoqWatch): void {
	const button = element("mute", HTMLButtonElement);
	const slider = element("volume", HTMLInputElement);
	// The element sets its own default once it is made, a moment later.
	setTimeout(() => {
		watch.volume = stored > 0 && stored <= 1 ? stored : 0.8;
	});
	button.addEventListener("click", () => {
		watch.muted = !watch.muted;
	});
	slider.addEventListener("input", () => {
		watch.volume = slider.valueAsNumber;
		remember("volume", slider.value);
	});
	scope.subscribe(watch.controls.volume, (volume) => {
		slider.value = String(volume);
	});
	scope.subscribe(watch.controls.muted, (muted) => {
		face(button, muted ? "mute" : "loud", muted ? "Sound on (m)" : "Mute (m)");
		button.ariaPressed = String(muted);
	});
}

/** Browsers keep sound off until the page was touched; @moq/watch resumes it at any click or key. */
function gesture(scope: Signals.Effect, watch: MoqWatch): void {
	const button = element("sound", HTMLButtonElement);
	scope.run((effect) => {
		const context = effect.get(watch.audio.out.context);
		const wanted = !effect.get(watch.controls.muted) && watch.audio.source.out.config;
		const show = () => {
			button.hidden = !(wanted && effect.get(wanted) && context?.state === "suspended");
		};
		if (context) effect.event(context, "statechange", show);
		show();
	});
}

function fullscreen(): void {
	const button = element("fullscreen", HTMLButtonElement);
	const screen = element("screen", HTMLElement);
	const show = () => {
		const on = document.fullscreenElement !== null;
		face(button, on ? "leave" : "enter", on ? "Leave full screen (f)" : "Full screen (f)");
	};
	button.hidden = !document.fullscreenEnabled;
	button.addEventListener("click", toggleFullscreen);
	screen.addEventListener("dblclick", toggleFullscreen);
	document.addEventListener("fullscreenchange", show);
	show();
}

function toggleFullscreen(): void {
	const done = document.fullscreenElement
		? document.exitFullscreen()
		: element("screen", HTMLElement).requestFullscreen();
	// Refused: the picture stays as it is.
	done.catch(() => {});
}

function buffer(watch: MoqWatch): void {
	const select = element("buffer", HTMLSelectElement);
	select.addEventListener("change", () => {
		// Not `latency`: @moq/watch 0.4.6 sets a fixed one back to the buffer of before (it reflects it too early).
		watch.setAttribute("latency-min", select.value);
	});
}

function rendition(scope: Signals.Effect, watch: MoqWatch): void {
	const choice = element("rendition-choice", HTMLElement);
	const select = element("rendition", HTMLSelectElement);
	select.addEventListener("change", () => {
		const name = select.value || undefined;
		watch.controls.target.update((target) => ({ ...target, name }));
	});
	scope.subscribe(watch.video.source.out.available, (available) => {
		const before = select.value;
		const options = Object.entries(available).map(([name, { codedWidth, codedHeight }]) => {
			const size = codedWidth && codedHeight ? ` (${codedWidth} × ${codedHeight})` : "";
			return new Option(`${name}${size}`, name);
		});
		select.replaceChildren(new Option("automatic", ""), ...options);
		select.value = before in available ? before : "";
		choice.hidden = options.length < 2;
	});
}

function keys(watch: MoqWatch): void {
	document.addEventListener("keydown", (event) => {
		if (event.ctrlKey || event.metaKey || event.altKey) return;
		if (event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement) return;
		if (event.key === "m") watch.muted = !watch.muted;
		if (event.key === "f") toggleFullscreen();
	});
}
