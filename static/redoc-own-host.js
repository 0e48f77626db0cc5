// Redoc asks a foreign host for a small logo, and has no option against it. Our policy refuses that, which would stand
// as an error in the console of everybody who reads the page: here the question is not even asked.
const foreign = "https://cdn.redoc.ly/";
const setAttribute = Element.prototype.setAttribute;
Element.prototype.setAttribute = function (name, value) {
  if (name === "src" && String(value).startsWith(foreign)) return;
  setAttribute.call(this, name, value);
};
const source = Object.getOwnPropertyDescriptor(HTMLImageElement.prototype, "src");
Object.defineProperty(HTMLImageElement.prototype, "src", {
  ...source,
  set(value) {
    if (!String(value).startsWith(foreign)) source.set.call(this, value);
  },
});
