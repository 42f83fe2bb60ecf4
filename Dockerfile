# The command condseg on CPUs. Build it in the repository, and run it in the folder that has your data:
#
#   docker build --tag condseg .
#   docker run --rm --volume "$PWD:/data" --user "$(id -u):$(id -g)" --shm-size 2g condseg predict MODEL IMAGES OUT
#   docker run --rm --publish 127.0.0.1:8000:8000 condseg serve condseg_polyp --host 0.0.0.0
FROM python:3.11-slim
COPY . /opt/condseg_monai
WORKDIR /opt/condseg_monai
RUN pip install --no-cache-dir --extra-index-url https://download.pytorch.org/whl/cpu --constraint constraints.txt ".[dicom,synapse,pretrained,serve]"
RUN condseg --version
ENV HOME=/tmp
WORKDIR /data
ENTRYPOINT ["condseg"]
