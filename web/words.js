// Figures in words. They come from the server; nothing is computed here but how they read.

const counts = new Intl.NumberFormat("en");
const digits = new Intl.NumberFormat("en", { maximumSignificantDigits: 2 });

export const count = (n) => counts.format(n);
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
export const similarity = (value) => value.toFixed(3);
export const milliseconds = (ms) =>
  ms < 10 ? `${ms.toFixed(1)} ms` : ms < 10_000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;

/** 0.0123 as "1.2 %". */
export function percent(rate) {
  const value = rate * 100;
  if (value > 99.9 && value < 100) return "over 99.9 %";
  if (value !== 0 && value < 0.000_1) return `${value.toExponential(1)} %`;
  return `${new Intl.NumberFormat("en", { maximumSignificantDigits: value >= 10 ? 3 : 2, maximumFractionDigits: 20 }).format(value)} %`;
}

/** A rate as people count: "1 in 120", "87 in 100". */
export function frequency(rate) {
  if (rate <= 0) return "none";
  if (rate >= 0.995) return "nearly all";
  if (rate >= 0.095) return `about ${Math.round(rate * 100)} in 100`;
  return `about 1 in ${digits.format(Math.round(1 / rate))}`;
}

/** What a threshold stands for. */
export function threshold({ fmr, fpir, faces_searched: faces, calibrated }) {
  const open = calibrated ? "" : " This is extrapolated, beyond what was measured.";
  if (fpir === undefined || fpir === null) {
    return `False-match rate ${percent(fmr)}: ${frequency(fmr)} comparisons of two different people would match.${open}`;
  }
  return `False-positive rate ${percent(fpir)}: ${frequency(fpir)} searches for somebody who is not among ${
    faces === 1 ? "this 1 face" : `these ${count(faces)} faces`
  } would still find a match.${open}`;
}

export const personName = (person) => person?.name || person?.id || "Unnamed face";

/** The last part of where a photo was read. */
export function imageName(uri) {
  if (!uri) return "";
  if (uri.startsWith("upload:")) return "Uploaded photo";
  const path = uri.split(/[?#]/)[0].replace(/\/+$/, "");
  const last = path.slice(path.lastIndexOf("/") + 1) || uri;
  try {
    return decodeURIComponent(last);
  } catch {
    return last;
  }
}

/** Sentence case, with a full stop. */
export function sentence(text) {
  if (!text) return "";
  const first = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(first) ? first : `${first}.`;
}
